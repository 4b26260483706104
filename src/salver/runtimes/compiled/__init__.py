"""Models compiled at load: faster engines that give the same answers, or none at all.

The model is read once more into each engine that knows its kind (`sklearn_engines`,
`booster_engines`, `treelite_engine`, `onnx_engine`; the steps before it in `preprocessing`).
Each is asked a probe set drawn from the model itself (`landmarks`, `probes`) and is kept only
if its answers agree with the framework's (`agreement`). What is left is timed against the
framework (`measuring`), and the quickest answers, by batch size (`choosing`, `model`).
`compiling` leads through it. Nothing here knows of requests beyond their tensors, and whatever
an engine does not know for certain it declines: then the framework answers.
"""
