"""A model in a browser: `site` writes the page, `page` is its HTML and JavaScript, `runtime` runs bundles.

`runtime` holds plain JavaScript modules without dependencies, which export/node uses too. `onnxruntime_web` finds the
files of onnxruntime-web and checks them.
"""
