# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what is written, what of others is believed, how one model starts another."""
