# SPDX-License-Identifier: Apache-2.0
"""Measures a machine: training steps, drawing, data, checkpoints, and how costs grow."""
