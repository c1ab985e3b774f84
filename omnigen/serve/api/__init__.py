# SPDX-License-Identifier: Apache-2.0
"""The HTTP API: OpenAI's routes for pictures, and a few of others, in front of an engine.

`app` has the routes and what holds for all of them; it alone knows Starlette. An endpoint takes a
`call.Call` and returns a `call.Reply` or a `call.Stream`, so that it can be read and tested without
a framework.
"""
