# SPDX-License-Identifier: Apache-2.0
"""Networks of others that judges and measures need, in JAX, and a reader of their weights."""
