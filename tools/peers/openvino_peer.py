"""OpenVINO as a peer of `llorch bench`, answering the bench's protocol.

    pip install openvino nncf
    python tools/peers/openvino_peer.py

Precisions: float32; bfloat16 (OpenVINO's inference precision, which rounds weights and activations); int8
(weights only, by output channel, as NNCF's `compress_weights` makes them; OpenVINO rounds activations as it
likes). The graph is written here of OpenVINO's own operators, with the cache as a state of the model and the
choice of a beam before it: the form that its CPU plugin fuses. Fused, `causal` counts the diagonal from the
lower right corner; a mask instead would halve the speed of prefill. In float32 the cache is float32, too; in
the others it is what OpenVINO chooses. Of the last position alone logits are computed.
"""

from __future__ import annotations

import time
from pathlib import Path

from common import Stepwise, converted, packages, plain_gpt2, precision_of

from llorch_core.bench.protocol import serve

HINTS = {
    "float32": {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"},
    "bfloat16": {"INFERENCE_PRECISION_HINT": "bf16"},
    "int8": {"INFERENCE_PRECISION_HINT": "f32"},
}


class OpenVINO(Stepwise):
    engine = "OpenVINO"

    def __init__(self, request):
        started = time.perf_counter()
        with packages("openvino nncf"):
            import numpy as np
            import openvino
        self.np, self.version = np, openvino.__version__.split("-")[0]
        hints = precision_of(request, HINTS)
        self.precision = request["precision"]
        path, spent = converted(
            request, f"openvino-{self.version}-float32", lambda path: write(request["model"], path)
        )
        if self.precision == "int8":
            float32 = path
            path, more = converted(
                request, f"openvino-{self.version}-int8", lambda path: write_int8(float32 / "gpt2.xml", path)
            )
            spent += more
        settings = {
            "INFERENCE_NUM_THREADS": request["threads"],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = openvino.Core().compile_model(path / "gpt2.xml", "CPU", settings | hints)
        self.request = compiled.create_infer_request()
        self.load_s = time.perf_counter() - started - spent

    def begin(self, rows, room):
        self.request.reset_state()
        self.n_past = 0

    def read(self, ids):
        np, total = self.np, self.n_past + ids.shape[1]
        positions, beams = np.arange(self.n_past, total), np.arange(len(ids), dtype=np.int32)
        self.request.infer({"ids": ids, "positions": positions, "beams": beams}, share_inputs=True)
        self.n_past = total
        return self.request.get_output_tensor().data


def write(folder, path):
    """Write the graph and the weights, in float32, into a new folder."""
    with packages("openvino nncf"):
        import numpy as np
        import openvino
        from openvino import Dimension, PartialShape, Type, opset15
        from openvino.op.util import Variable, VariableInfo

        from llorch_core.engine.config import read_config
        from llorch_core.engine.weights import load_weights
    config = read_config(Path(folder))
    plain_gpt2(config)
    weights = load_weights(Path(folder), config)
    op = opset15

    def constant(x, dtype=np.float32):
        return op.constant(np.ascontiguousarray(x, dtype))

    def whole(*numbers):
        return op.constant(np.array(numbers, np.int64))

    def norm(x, ln):
        x = op.mvn(x, whole(-1), True, config.layer_norm_epsilon, "inside_sqrt")
        return op.add(op.multiply(x, constant(ln.weight)), constant(ln.bias))

    def product(x, conv):
        return op.add(op.matmul(x, constant(conv.weight.T), False, True), constant(conv.bias))

    def heads(x):
        x = op.reshape(x, whole(0, 0, config.n_head, config.head_dim), True)
        return op.transpose(x, whole(0, 2, 1, 3))

    def kept(name, new):
        """What was kept of this name, and the new rows behind it; that is kept in turn."""
        shape = PartialShape([Dimension(), config.n_head, Dimension(), config.head_dim])
        info = VariableInfo()
        info.data_shape, info.data_type, info.variable_id = shape, Type.f32, name
        variable = Variable(info)
        past = op.gather(op.read_value(nothing, variable), beams, whole(0))
        both = op.concat([past, new], 2)
        sinks.append(op.assign(both, variable))
        return both

    ids = op.parameter([-1, -1], Type.i64)
    positions = op.parameter([-1], Type.i64)
    beams = op.parameter([-1], Type.i32)
    for name, given in (("ids", ids), ("positions", positions), ("beams", beams)):
        given.output(0).set_names({name})
    sinks = []
    rows = op.gather(op.shape_of(ids), whole(0), whole(0))
    no_keys = op.concat([rows, whole(config.n_head, 0, config.head_dim)], 0)
    nothing = op.broadcast(constant(0.0).output(0), no_keys)
    x = op.add(
        op.gather(constant(weights.wte), ids, whole(0)), op.gather(constant(weights.wpe), positions, whole(0))
    )
    for n, block in enumerate(weights.h):
        qkv = op.split(product(norm(x, block.ln_1), block.attn.c_attn), op.constant(np.int64(2)), 3)
        q, k, v = (heads(part) for part in qkv.outputs())
        k, v = kept(f"h.{n}.key", k), kept(f"h.{n}.value", v)
        context = op.transpose(op.scaled_dot_product_attention(q, k, v, causal=True), whole(0, 2, 1, 3))
        context = op.reshape(context, whole(0, 0, config.n_embd), True)
        x = op.add(x, product(context, block.attn.c_proj))
        act = op.gelu(product(norm(x, block.ln_2), block.mlp.c_fc), "tanh")
        x = op.add(x, product(act, block.mlp.c_proj))
    x = op.gather(norm(x, weights.ln_f), op.constant(np.int64(-1)), op.constant(np.int64(1)))
    logits = op.matmul(x, constant(weights.lm_head), False, True)
    model = openvino.Model([op.result(logits)], sinks, [ids, positions, beams], "gpt2")
    path.mkdir()
    openvino.save_model(model, path / "gpt2.xml", compress_to_fp16=False)


def write_int8(float32, path):
    """Write the same graph with int8 weights, as OpenVINO's own tool makes them."""
    with packages("openvino nncf"):
        import nncf
        import openvino
    model = openvino.Core().read_model(float32)
    model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    path.mkdir()
    openvino.save_model(model, path / "gpt2.xml", compress_to_fp16=False)


if __name__ == "__main__":
    serve(OpenVINO)
