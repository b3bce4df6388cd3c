"""An HTTP server for finished models, `textrnn serve`: completions, streams, classification, forecasts, scores.

`http` listens, `app` answers, `forms` says what a request may hold, `scheduler` shares the calls of a language model
among the texts that are being generated. Only `textrnn.commands` may import this; it needs the extra ``serve``.
"""
