# SPDX-License-Identifier: Apache-2.0
"""What was found, for people: a page, a table, and the charts in them."""
