# SPDX-License-Identifier: Apache-2.0
"""The four learned parts, one file each, and `omni`, which composes them. No training code."""
