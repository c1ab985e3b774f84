# SPDX-License-Identifier: Apache-2.0
"""The form in which pictures with captions are kept: its files, and how each is read."""
