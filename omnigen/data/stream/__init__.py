# SPDX-License-Identifier: Apache-2.0
"""What training reads: mixtures of corpora and scenes, packed into batches."""
