# SPDX-License-Identifier: Apache-2.0
"""The server: an engine that draws for many, and an HTTP API in front of it."""
