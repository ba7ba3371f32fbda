"""ONNX Runtime as a peer of `llorch bench`, answering the bench's protocol.

    pip install onnx onnxruntime
    python tools/peers/onnxruntime_peer.py

Precisions: float32; int8 (ONNX Runtime's own `quantize_dynamic`: weights by column, activations rounded to
int8 before each product; the table of tokens stays float32). The graph is written here, of the operators that
ONNX Runtime has for transformers: SkipLayerNormalization, FastGelu with its bias, and GroupQueryAttention,
whose cache is written in place. Of the last position alone logits are computed.
"""

from __future__ import annotations

import time
from pathlib import Path

from common import Stepwise, converted, in_steps, packages, plain_gpt2, precision_of

from llorch_core.bench.protocol import serve


class ONNXRuntime(Stepwise):
    engine = "ONNX Runtime"

    def __init__(self, request):
        started = time.perf_counter()
        with packages("onnx onnxruntime"):
            import numpy as np
            import onnxruntime

            from llorch_core.engine.config import read_config
        self.np, self.onnxruntime, self.version = np, onnxruntime, onnxruntime.__version__
        self.precision = precision_of(request, {"float32": "float32", "int8": "int8"})
        folder, spent = converted(
            request, f"onnxruntime-{self.version}-float32", lambda path: write(request["model"], path)
        )
        if self.precision == "int8":
            float32 = folder / "gpt2.onnx"
            folder, more = converted(
                request, f"onnxruntime-{self.version}-int8", lambda path: write_int8(float32, path)
            )
            spent += more
        self.config = read_config(Path(request["model"]))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = request["threads"], 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(folder / "gpt2.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.rows = self.room = 0
        self.load_s = time.perf_counter() - started - spent

    def begin(self, rows, room):
        self.n_past = 0
        if rows != self.rows or room > self.room:
            self.rows, self.room = rows, min(in_steps(room), self.config.n_ctx)
            shape = rows, self.config.n_head, self.room, self.config.head_dim
            self.binding = self.session.io_binding()
            self.cache = {}
            for part in parts(self.config):
                cache = self.onnxruntime.OrtValue.ortvalue_from_numpy(self.np.zeros(shape, self.np.float32))
                self.binding.bind_ortvalue_input(f"past.{part}", cache)
                self.binding.bind_ortvalue_output(f"present.{part}", cache)
                self.cache[part] = cache
            self.binding.bind_output("logits")

    def read(self, ids):
        np, total = self.np, self.n_past + ids.shape[1]
        self.binding.bind_cpu_input("ids", ids)
        self.binding.bind_cpu_input("positions", np.arange(self.n_past, total))
        self.binding.bind_cpu_input("last", np.full(len(ids), total - 1, np.int32))
        self.binding.bind_cpu_input("total", np.array([total], np.int32))
        self.session.run_with_iobinding(self.binding)
        self.n_past = total
        return self.binding.get_outputs()[-1].numpy()


def parts(config):
    """Return the names of what is kept: keys and values of every layer."""
    return [f"{n}.{kind}" for n in range(config.n_layer) for kind in ("key", "value")]


def write(folder, path):
    """Write the graph and the weights, in float32, into a new folder."""
    with packages("onnx onnxruntime"):
        import numpy as np
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        from llorch_core.engine.config import read_config
        from llorch_core.engine.weights import load_weights
    config = read_config(Path(folder))
    plain_gpt2(config)
    weights = load_weights(Path(folder), config)
    nodes, constants = [], []

    def constant(name, x):
        constants.append(numpy_helper.from_array(np.asarray(x, order="C"), name))
        return name

    def node(kind, name, inputs, outputs=None, domain="", **attributes):
        outputs = outputs or [name]
        nodes.append(helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]

    def product(name, x, conv):
        return node("MatMul", name, [x, constant(f"{name}.weight", conv.weight)])

    def norm(name, weights):
        return [constant(f"{name}.weight", weights.weight), constant(f"{name}.bias", weights.bias)]

    def added_norm(name, stream, branch, weights, bias):
        """The stream with a branch added, and its normalisation, in one operator."""
        inputs = [stream, branch, *norm(name, weights), constant(f"{name}.branch_bias", bias)]
        outputs = [name, "", "", f"{name}.stream"]
        node("SkipLayerNormalization", name, inputs, outputs, "com.microsoft", epsilon=epsilon)
        return name, outputs[-1]

    epsilon = config.layer_norm_epsilon
    tokens = node("Gather", "tokens", [constant("wte", weights.wte), "ids"])
    places = node("Gather", "places", [constant("wpe", weights.wpe), "positions"])
    stream = node("Add", "embed", [tokens, places])
    x = node(
        "LayerNormalization", "h.0.ln_1", [stream, *norm("h.0.ln_1", weights.h[0].ln_1)], epsilon=epsilon
    )
    for n, block in enumerate(weights.h):
        h = f"h.{n}"
        qkv = product(f"{h}.qkv", x, block.attn.c_attn)
        qkv = node("Add", f"{h}.qkv.biased", [qkv, constant(f"{h}.qkv.bias", block.attn.c_attn.bias)])
        kept = [f"{n}.key", f"{n}.value"]
        context = node(
            "GroupQueryAttention",
            f"{h}.context",
            [qkv, "", "", *(f"past.{part}" for part in kept), "last", "total"],
            [f"{h}.context", *(f"present.{part}" for part in kept)],
            "com.microsoft",
            num_heads=config.n_head,
            kv_num_heads=config.n_head,
        )
        branch = product(f"{h}.attn", context, block.attn.c_proj)
        x, stream = added_norm(f"{h}.ln_2", stream, branch, block.ln_2, block.attn.c_proj.bias)
        x = product(f"{h}.fc", x, block.mlp.c_fc)
        bias = constant(f"{h}.fc.bias", block.mlp.c_fc.bias)
        x = node("FastGelu", f"{h}.act", [x, bias], domain="com.microsoft")
        branch = product(f"{h}.mlp", x, block.mlp.c_proj)
        last = n == config.n_layer - 1
        name, after = ("ln_f", weights.ln_f) if last else (f"h.{n + 1}.ln_1", weights.h[n + 1].ln_1)
        x, stream = added_norm(name, stream, branch, after, block.mlp.c_proj.bias)
    x = node("Gather", "last_row", [x, constant("minus_one", np.array(-1))], axis=1)
    node("MatMul", "logits", [x, constant("lm_head", weights.lm_head.T)])

    cache = ["rows", config.n_head, "room", config.head_dim]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "gpt2",
        [
            value("ids", TensorProto.INT64, ["rows", "T"]),
            value("positions", TensorProto.INT64, ["T"]),
            value("last", TensorProto.INT32, ["rows"]),
            value("total", TensorProto.INT32, [1]),
            *(value(f"past.{part}", TensorProto.FLOAT, cache) for part in parts(config)),
        ],
        [
            *(value(f"present.{part}", TensorProto.FLOAT, cache) for part in parts(config)),
            value("logits", TensorProto.FLOAT, ["rows", config.n_vocab]),
        ],
        constants,
    )
    operators = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=operators, ir_version=8)
    path.mkdir()
    onnx.save(model, path / "gpt2.onnx", save_as_external_data=True, location="weights")


def write_int8(float32, path):
    """Write the same graph with int8 weights, as ONNX Runtime's own tool makes them."""
    with packages("onnx onnxruntime"):
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
    path.mkdir()
    quantize_dynamic(
        float32,
        path / "gpt2.onnx",
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
    )


if __name__ == "__main__":
    serve(ONNXRuntime)
