# SPDX-License-Identifier: Apache-2.0
"""How models are judged: one file a benchmark."""
