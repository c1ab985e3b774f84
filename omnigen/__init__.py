# SPDX-License-Identifier: Apache-2.0
"""omnigen: text and images as one sequence, drawn by one autoregressive transformer in JAX."""

__version__ = "0.1.1"
