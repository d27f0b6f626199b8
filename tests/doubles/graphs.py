"""A stand-in for `torch.cuda.make_graphed_callables` that computes on the CPU, with the buffers that a graph has.

As a captured graph, it reads its input and its incoming gradients from memory of its own, writes outputs and gradients
into memory that the next call writes over, casts as autocast did when it was captured, and knows one shape.
"""

from contextlib import nullcontext

import torch


class Captures(list):
    """The modes in which graphs were captured; the double is called like torch's function."""

    def __call__(self, chain, sample_args, *, capture_error_mode="global"):
        if torch.is_autocast_enabled("cpu") and torch.is_autocast_cache_enabled():
            raise RuntimeError("make_graphed_callables does not support the autocast caching")
        assert all(not buffer.requires_grad for buffer in chain.buffers())
        self.append(capture_error_mode)
        return _capture(chain, *sample_args)


def _capture(chain, sample):
    cast = torch.autocast("cpu", dtype=torch.get_autocast_dtype("cpu"), cache_enabled=False)
    context = cast if torch.is_autocast_enabled("cpu") else nullcontext()
    parameters = tuple(chain.parameters())
    trained = tuple(parameter for parameter in parameters if parameter.requires_grad)
    static_input = sample.clone()

    def compute():
        with torch.enable_grad(), context:
            return chain(static_input)

    for _ in range(3):  # as torch does, to warm up
        output = compute()
        torch.autograd.grad(output, trained, torch.full_like(output, torch.nan))
    static_output = torch.full_like(output.detach(), torch.nan)
    static_incoming = torch.full_like(static_output, torch.nan)
    static_gradients = tuple(torch.full_like(parameter, torch.nan) for parameter in trained)
    replayed = []

    class Graphed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value, *_):
            assert value.shape == static_input.shape
            static_input.copy_(value)
            replayed[:] = [compute()]
            static_output.copy_(replayed[0].detach())
            return static_output.detach()

        @staticmethod
        def backward(ctx, incoming):
            static_incoming.copy_(incoming)
            (output,) = replayed
            found = torch.autograd.grad(output, trained, static_incoming)
            for memory, gradient in zip(static_gradients, found, strict=True):
                memory.copy_(gradient)
            gradients = iter(static_gradients)
            return None, *(next(gradients).detach() if each.requires_grad else None for each in parameters)

    return lambda value: Graphed.apply(value, *parameters)
