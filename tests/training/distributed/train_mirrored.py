"""Train on so many logical devices of the processor: python train_mirrored.py DEVICES [argument of `textrnn` ...]"""

from __future__ import annotations

import sys
from unittest import mock


def main(devices: int, arguments: list[str]) -> int:
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
    tf.config.set_logical_device_configuration(processor, parts)
    from textrnn.cli import main as textrnn
    from textrnn.training.distributed import distribution

    mirrored = distribution.Distribution(tf.distribute.MirroredStrategy([f"CPU:{n}" for n in range(devices)]))
    with mock.patch.object(distribution, "of_this_process", lambda: mirrored):
        return textrnn(arguments)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
