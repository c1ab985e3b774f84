# SPDX-License-Identifier: Apache-2.0
"""What may be asked and shown, and how pictures tell that a machine made them."""
