# SPDX-License-Identifier: Apache-2.0
"""How people word what they want to see: what a caption tells, and free English for it."""
