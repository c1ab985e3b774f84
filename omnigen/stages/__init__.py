# SPDX-License-Identifier: Apache-2.0
"""What is trained: each stage is a dataset, weights and a loss."""
