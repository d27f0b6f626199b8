"""Multiply-adds of a ResNet18, counted by hand."""

# multiply-adds of conv1 at 224: 112*112 outputs of 64 channels, each over 3*7*7 values
CONV1 = 112 * 112 * 64 * 3 * 7 * 7
# a layer1 convolution: 56*56 outputs of 64 channels over 64*3*3; four of them. The later layers have a convolution
# of stride 2 (half the input channels), three full ones and a 1x1 on the shortcut, at a quarter of the outputs each
LAYER1 = 4 * 56 * 56 * 64 * 64 * 9


def later(side: int, channels: int) -> int:
    return side * side * channels * (channels // 2 * 9 + 3 * channels * 9 + channels // 2)


HEAD = 512 * 3
FORWARD = CONV1 + LAYER1 + later(28, 128) + later(14, 256) + later(7, 512) + HEAD
