# SPDX-License-Identifier: Apache-2.0
"""Corpora that anyone can build from package registries: recipes, and what cooks them."""
