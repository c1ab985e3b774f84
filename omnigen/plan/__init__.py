# SPDX-License-Identifier: Apache-2.0
"""Will it fit, and how fast could it be: real programs, compiled for chips that are not here."""
