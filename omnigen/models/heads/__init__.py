# SPDX-License-Identifier: Apache-2.0
"""What a hidden state becomes: one file a head."""
