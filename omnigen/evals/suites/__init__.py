# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: one file a suite, and one for the prompts of each that has its own."""
