# SPDX-License-Identifier: Apache-2.0
"""What models are trained on: numpy, Grain and no jax programs."""
