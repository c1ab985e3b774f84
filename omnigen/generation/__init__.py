# SPDX-License-Identifier: Apache-2.0
"""How a trained model is driven: prompts, the state of generation, and what loops over it."""
