# SPDX-License-Identifier: Apache-2.0
"""Judges: pixels in, plain data out.

They share nothing with what they judge: no models, no tokenizer, no renderer, no palette. To
check a score, hand any judge any picture.
"""
