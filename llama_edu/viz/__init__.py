"""Figures and tables for the book. The only place in the package that imports matplotlib.

Functions take plain arrays or a `Trace` and return a `Picture` or an `Html`, which a notebook
shows when it is the last line of a cell. Each carries a text that says what it shows, written
from its numbers.
"""

from llama_edu.viz.atlas import attention_atlas
from llama_edu.viz.attention import attention_maps, score_maps, weights_of
from llama_edu.viz.axes import AXES, Axis, axis, axis_legend, chip
from llama_edu.viz.batching import batch_steps
from llama_edu.viz.bits import dtype_bits
from llama_edu.viz.blocks import block_grid
from llama_edu.viz.caching import cache_growth, work_with_and_without_cache
from llama_edu.viz.candidates import probability_bars
from llama_edu.viz.dials import rope_clock
from llama_edu.viz.distance import distance_curve
from llama_edu.viz.entropy import entropy_curve
from llama_edu.viz.figure import Picture
from llama_edu.viz.filemap import byte_offsets
from llama_edu.viz.flip import flip_bits
from llama_edu.viz.gates import silu_gate
from llama_edu.viz.heads import head_wiring
from llama_edu.viz.hexmap import hex_map
from llama_edu.viz.histogram import byte_histogram
from llama_edu.viz.html import Html
from llama_edu.viz.labels import token_label, token_labels
from llama_edu.viz.ladder import residual_ladder
from llama_edu.viz.layouts import rope_layouts
from llama_edu.viz.ledger import shape_ledger
from llama_edu.viz.loss import loss_curves
from llama_edu.viz.matmul import matmul_tile
from llama_edu.viz.merges import merge_tree
from llama_edu.viz.mixing import head_concat, mixing_bars
from llama_edu.viz.norms import norm_stages
from llama_edu.viz.parity import parity_staircase
from llama_edu.viz.roof import cost_bars, roofline
from llama_edu.viz.rounding import bytes_and_gap, error_map, running_sums
from llama_edu.viz.sampling_lab import sampling_lab
from llama_edu.viz.scaling import frequency_scaling
from llama_edu.viz.shapes import shape_table
from llama_edu.viz.staircase import mask_staircase, row_sums
from llama_edu.viz.step_cost import step_cost
from llama_edu.viz.step_layer import step_layer
from llama_edu.viz.step_matmul import step_matmul
from llama_edu.viz.step_sampling import step_sampling
from llama_edu.viz.step_score_v import step_score_v
from llama_edu.viz.step_scores import step_scores
from llama_edu.viz.step_softmax import step_mask_softmax
from llama_edu.viz.step_sum import step_sum
from llama_edu.viz.strides import stride_grid
from llama_edu.viz.strip import token_strip
from llama_edu.viz.tables import tensor_table
from llama_edu.viz.timings import time_bars
from llama_edu.viz.treemap import parameter_treemap
from llama_edu.viz.triptych import score_triptych
from llama_edu.viz.turns import (
    first_token_time,
    first_token_work,
    prefix_break,
    turn_timeline,
)

__all__ = [
    "AXES",
    "Axis",
    "Html",
    "Picture",
    "attention_atlas",
    "attention_maps",
    "axis",
    "axis_legend",
    "batch_steps",
    "block_grid",
    "byte_histogram",
    "byte_offsets",
    "bytes_and_gap",
    "cache_growth",
    "chip",
    "cost_bars",
    "distance_curve",
    "dtype_bits",
    "entropy_curve",
    "error_map",
    "first_token_time",
    "first_token_work",
    "flip_bits",
    "frequency_scaling",
    "head_concat",
    "head_wiring",
    "hex_map",
    "loss_curves",
    "mask_staircase",
    "matmul_tile",
    "merge_tree",
    "mixing_bars",
    "norm_stages",
    "parameter_treemap",
    "parity_staircase",
    "prefix_break",
    "probability_bars",
    "residual_ladder",
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
    "silu_gate",
    "step_cost",
    "step_layer",
    "step_mask_softmax",
    "step_matmul",
    "step_sampling",
    "step_score_v",
    "step_scores",
    "step_sum",
    "stride_grid",
    "tensor_table",
    "time_bars",
    "token_label",
    "token_labels",
    "token_strip",
    "turn_timeline",
    "weights_of",
    "work_with_and_without_cache",
]
