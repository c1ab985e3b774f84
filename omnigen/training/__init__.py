# SPDX-License-Identifier: Apache-2.0
"""One training loop for every stage; it knows nothing about images."""
