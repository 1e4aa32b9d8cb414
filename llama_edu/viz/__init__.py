"""Figures and tables for the book. The only place in the package that imports matplotlib.

Functions take plain arrays or a `Trace` and return a `Picture` or an `Html`, which a notebook
shows when it is the last line of a cell. Each carries a text that says what it shows, written
from its numbers.
"""

from llama_edu.viz.attention.atlas import attention_atlas
from llama_edu.viz.attention.maps import attention_maps, score_maps, weights_of
from llama_edu.viz.attention.row import attention_row
from llama_edu.viz.bytes.bits import dtype_bits
from llama_edu.viz.bytes.filemap import byte_offsets
from llama_edu.viz.bytes.flip import flip_bits
from llama_edu.viz.bytes.hexmap import hex_map
from llama_edu.viz.bytes.histogram import byte_histogram
from llama_edu.viz.chat.turns import first_token_time, first_token_work, prefix_break, turn_timeline
from llama_edu.viz.cost.roof import cost_bars, roofline
from llama_edu.viz.cost.step_cost import step_cost
from llama_edu.viz.cost.timings import time_bars
from llama_edu.viz.faster.guesses import guess_shares, guessed_pass
from llama_edu.viz.faster.shared import shared_rows
from llama_edu.viz.generate.caching import cache_growth, work_with_and_without_cache
from llama_edu.viz.generate.calls import attention_by_call
from llama_edu.viz.generate.stopwatch import stopwatch
from llama_edu.viz.linear.matmul import matmul_tile
from llama_edu.viz.linear.step_matmul import step_matmul
from llama_edu.viz.linear.strides import stride_grid
from llama_edu.viz.mask_softmax.loss import loss_curves
from llama_edu.viz.mask_softmax.staircase import mask_staircase, row_sums
from llama_edu.viz.mask_softmax.step_softmax import step_mask_softmax
from llama_edu.viz.mask_softmax.triptych import score_triptych
from llama_edu.viz.model.heads import head_map
from llama_edu.viz.model.lens import rank_by_layer
from llama_edu.viz.model.machine import machine
from llama_edu.viz.model.parity import parity_staircase
from llama_edu.viz.model.step_layer import step_layer
from llama_edu.viz.model.treemap import parameter_treemap
from llama_edu.viz.norm_mlp.gates import silu_gate
from llama_edu.viz.norm_mlp.ladder import residual_ladder
from llama_edu.viz.norm_mlp.norms import norm_stages
from llama_edu.viz.norm_mlp.unit import mlp_unit
from llama_edu.viz.parallel.pays import split_pays
from llama_edu.viz.parallel.ring import ring_sum
from llama_edu.viz.parallel.split import layer_split
from llama_edu.viz.parts.axes import AXES, Axis, axis, axis_legend, chip
from llama_edu.viz.parts.figure import Picture
from llama_edu.viz.parts.html import Html
from llama_edu.viz.parts.labels import token_label, token_labels
from llama_edu.viz.parts.predict import predict
from llama_edu.viz.parts.shape_ledger import shape_ledger
from llama_edu.viz.parts.shape_table import shape_table
from llama_edu.viz.parts.tensor_table import tensor_table
from llama_edu.viz.parts.token_strip import token_strip
from llama_edu.viz.precision.fields import bit_fields
from llama_edu.viz.precision.rounding import bytes_and_gap, error_map, number_line, running_sums
from llama_edu.viz.rope.dials import rope_clock
from llama_edu.viz.rope.distance import distance_curve
from llama_edu.viz.rope.layouts import rope_layouts
from llama_edu.viz.rope.scaling import frequency_scaling
from llama_edu.viz.rope.turned import turned_arrows
from llama_edu.viz.sampling.candidates import probability_bars
from llama_edu.viz.sampling.choices import choices
from llama_edu.viz.sampling.entropy import entropy_curve
from llama_edu.viz.sampling.sampling_lab import sampling_lab
from llama_edu.viz.sampling.step_sampling import step_sampling
from llama_edu.viz.score_v.mixing import head_concat, mixing_bars
from llama_edu.viz.score_v.step_score_v import step_score_v
from llama_edu.viz.scores.arrows import query_and_keys
from llama_edu.viz.scores.blocks import block_grid
from llama_edu.viz.scores.heads import head_wiring
from llama_edu.viz.scores.step_scores import step_scores
from llama_edu.viz.serve.batching import batch_rows, batch_steps
from llama_edu.viz.serve.grammar import grammar_mask
from llama_edu.viz.tokenizer.merges import merge_tree

__all__ = [
    "AXES",
    "Axis",
    "Html",
    "Picture",
    "attention_atlas",
    "attention_by_call",
    "attention_maps",
    "attention_row",
    "axis",
    "axis_legend",
    "batch_rows",
    "batch_steps",
    "bit_fields",
    "block_grid",
    "byte_histogram",
    "byte_offsets",
    "bytes_and_gap",
    "cache_growth",
    "chip",
    "choices",
    "cost_bars",
    "distance_curve",
    "dtype_bits",
    "entropy_curve",
    "error_map",
    "first_token_time",
    "first_token_work",
    "flip_bits",
    "frequency_scaling",
    "grammar_mask",
    "guess_shares",
    "guessed_pass",
    "head_concat",
    "head_map",
    "head_wiring",
    "hex_map",
    "layer_split",
    "loss_curves",
    "machine",
    "mask_staircase",
    "matmul_tile",
    "merge_tree",
    "mixing_bars",
    "mlp_unit",
    "norm_stages",
    "number_line",
    "parameter_treemap",
    "parity_staircase",
    "predict",
    "prefix_break",
    "probability_bars",
    "query_and_keys",
    "rank_by_layer",
    "residual_ladder",
    "ring_sum",
    "roofline",
    "rope_clock",
    "rope_layouts",
    "row_sums",
    "running_sums",
    "sampling_lab",
    "score_maps",
    "score_triptych",
    "shape_ledger",
    "shape_table",
    "shared_rows",
    "silu_gate",
    "split_pays",
    "step_cost",
    "step_layer",
    "step_mask_softmax",
    "step_matmul",
    "step_sampling",
    "step_score_v",
    "step_scores",
    "stopwatch",
    "stride_grid",
    "tensor_table",
    "time_bars",
    "token_label",
    "token_labels",
    "token_strip",
    "turn_timeline",
    "turned_arrows",
    "weights_of",
    "work_with_and_without_cache",
]
