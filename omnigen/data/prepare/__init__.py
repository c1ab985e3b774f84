# SPDX-License-Identifier: Apache-2.0
"""Turns what people have into a corpus; everything here writes."""
