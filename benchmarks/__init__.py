"""How long a sweep takes: this project against a plain script, on one machine and in one run.

`make bench`, or `python -m benchmarks --help`. Three competitors train the same frozen sets with the same seeds, batch
size, learning rate, epochs, image size and threads. Each is a process of its own from a cold start: its start-up, its
stores and its pictures count.

    A  full backward: script B, but gradients are computed through everything and frozen weights merely not stepped
    B  a plain script: Optuna + Lightning + MLflow + TensorBoard, frozen blocks without gradients, images decoded by
       loader processes each epoch (`plain.py`)
    C  this project: `orchestrator sweep` in a fresh root

What a time is worth is said by its attainment: the time that the bound of `bound.py` predicts from this machine's own
measured throughput, over the time taken.
"""
