;; The products a Llama spends its time in, four numbers at a time (WebAssembly SIMD, 128 bits).
;;
;; Every row, of x, of weights, of keys and values, is padded with zeros to a multiple of 16
;; numbers, so that no loop here has a remainder. Pointers are bytes, `width` counts numbers.
;; `npm run build` assembles this file with wabt and puts the result into kernels_wasm.js.

(module
  (import "env" "memory" (memory 1))

  ;; Adds up the four lanes of a vector.
  (func $sum (param $v v128) (result f32)
    (f32.add
      (f32.add (f32x4.extract_lane 0 (local.get $v)) (f32x4.extract_lane 1 (local.get $v)))
      (f32.add (f32x4.extract_lane 2 (local.get $v)) (f32x4.extract_lane 3 (local.get $v)))))

  ;; y[i, o] = sum over j of x[i, j] * w[o, j], weights in float32.
  (func (export "linear_F32")
    (param $x i32) (param $w i32) (param $y i32)
    (param $rows i32) (param $outputs i32) (param $width i32)
    (local $x_at i32) (local $w_at i32) (local $w_row_end i32) (local $o i32)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (loop $each_row
      (local.set $w_at (local.get $w))
      (local.set $o (local.get $outputs))
      (loop $each_output
        (local.set $a (v128.const i32x4 0 0 0 0))
        (local.set $b (v128.const i32x4 0 0 0 0))
        (local.set $c (v128.const i32x4 0 0 0 0))
        (local.set $d (v128.const i32x4 0 0 0 0))
        (local.set $x_at (local.get $x))
        (local.set $w_row_end
          (i32.add (local.get $w_at) (i32.shl (local.get $width) (i32.const 2))))
        (loop $each_sixteen
          ;; Four sums that do not wait for one another.
          (local.set $a (f32x4.add (local.get $a) (f32x4.mul
            (v128.load (local.get $x_at)) (v128.load (local.get $w_at)))))
          (local.set $b (f32x4.add (local.get $b) (f32x4.mul
            (v128.load offset=16 (local.get $x_at)) (v128.load offset=16 (local.get $w_at)))))
          (local.set $c (f32x4.add (local.get $c) (f32x4.mul
            (v128.load offset=32 (local.get $x_at)) (v128.load offset=32 (local.get $w_at)))))
          (local.set $d (f32x4.add (local.get $d) (f32x4.mul
            (v128.load offset=48 (local.get $x_at)) (v128.load offset=48 (local.get $w_at)))))
          (local.set $x_at (i32.add (local.get $x_at) (i32.const 64)))
          (local.set $w_at (i32.add (local.get $w_at) (i32.const 64)))
          (br_if $each_sixteen (i32.lt_u (local.get $w_at) (local.get $w_row_end))))
        (f32.store (local.get $y) (call $sum (f32x4.add
          (f32x4.add (local.get $a) (local.get $b))
          (f32x4.add (local.get $c) (local.get $d)))))
        (local.set $y (i32.add (local.get $y) (i32.const 4)))
        (local.set $o (i32.sub (local.get $o) (i32.const 1)))
        (br_if $each_output (local.get $o)))
      (local.set $x (i32.add (local.get $x) (i32.shl (local.get $width) (i32.const 2))))
      (local.set $rows (i32.sub (local.get $rows) (i32.const 1)))
      (br_if $each_row (local.get $rows))))

  ;; The same with weights in bfloat16. Such a number is the upper half of a float32: putting a
  ;; half of zeros below each of eight stored numbers makes two vectors of four.
  (func (export "linear_BF16")
    (param $x i32) (param $w i32) (param $y i32)
    (param $rows i32) (param $outputs i32) (param $width i32)
    (local $x_at i32) (local $w_at i32) (local $w_row_end i32) (local $o i32)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local $stored v128) (local $zero v128)
    (loop $each_row
      (local.set $w_at (local.get $w))
      (local.set $o (local.get $outputs))
      (loop $each_output
        (local.set $a (v128.const i32x4 0 0 0 0))
        (local.set $b (v128.const i32x4 0 0 0 0))
        (local.set $c (v128.const i32x4 0 0 0 0))
        (local.set $d (v128.const i32x4 0 0 0 0))
        (local.set $x_at (local.get $x))
        (local.set $w_row_end
          (i32.add (local.get $w_at) (i32.shl (local.get $width) (i32.const 1))))
        (loop $each_sixteen
          (local.set $stored (v128.load (local.get $w_at)))
          (local.set $a (f32x4.add (local.get $a) (f32x4.mul
            (v128.load (local.get $x_at))
            (i8x16.shuffle 0 1 16 17 2 3 18 19 4 5 20 21 6 7 22 23
              (local.get $zero) (local.get $stored)))))
          (local.set $b (f32x4.add (local.get $b) (f32x4.mul
            (v128.load offset=16 (local.get $x_at))
            (i8x16.shuffle 8 9 24 25 10 11 26 27 12 13 28 29 14 15 30 31
              (local.get $zero) (local.get $stored)))))
          (local.set $stored (v128.load offset=16 (local.get $w_at)))
          (local.set $c (f32x4.add (local.get $c) (f32x4.mul
            (v128.load offset=32 (local.get $x_at))
            (i8x16.shuffle 0 1 16 17 2 3 18 19 4 5 20 21 6 7 22 23
              (local.get $zero) (local.get $stored)))))
          (local.set $d (f32x4.add (local.get $d) (f32x4.mul
            (v128.load offset=48 (local.get $x_at))
            (i8x16.shuffle 8 9 24 25 10 11 26 27 12 13 28 29 14 15 30 31
              (local.get $zero) (local.get $stored)))))
          (local.set $x_at (i32.add (local.get $x_at) (i32.const 64)))
          (local.set $w_at (i32.add (local.get $w_at) (i32.const 32)))
          (br_if $each_sixteen (i32.lt_u (local.get $w_at) (local.get $w_row_end))))
        (f32.store (local.get $y) (call $sum (f32x4.add
          (f32x4.add (local.get $a) (local.get $b))
          (f32x4.add (local.get $c) (local.get $d)))))
        (local.set $y (i32.add (local.get $y) (i32.const 4)))
        (local.set $o (i32.sub (local.get $o) (i32.const 1)))
        (br_if $each_output (local.get $o)))
      (local.set $x (i32.add (local.get $x) (i32.shl (local.get $width) (i32.const 2))))
      (local.set $rows (i32.sub (local.get $rows) (i32.const 1)))
      (br_if $each_row (local.get $rows))))

  ;; y[i, :] = sum over t of weights[i, t] * v[t, :], for `count` rows of v.
  (func (export "mix")
    (param $weights i32) (param $v i32) (param $y i32)
    (param $rows i32) (param $count i32) (param $width i32)
    (local $w_at i32) (local $w_end i32) (local $v_at i32) (local $column i32)
    (local $stride i32) (local $weight v128)
    (local $a v128) (local $b v128) (local $c v128) (local $d v128)
    (local.set $stride (i32.shl (local.get $width) (i32.const 2)))
    (loop $each_row
      (local.set $w_end
        (i32.add (local.get $weights) (i32.shl (local.get $count) (i32.const 2))))
      (local.set $column (i32.const 0))
      (loop $each_sixteen_columns
        (local.set $a (v128.const i32x4 0 0 0 0))
        (local.set $b (v128.const i32x4 0 0 0 0))
        (local.set $c (v128.const i32x4 0 0 0 0))
        (local.set $d (v128.const i32x4 0 0 0 0))
        (local.set $w_at (local.get $weights))
        (local.set $v_at (i32.add (local.get $v) (local.get $column)))
        (loop $each_position
          (local.set $weight (v128.load32_splat (local.get $w_at)))
          (local.set $a (f32x4.add (local.get $a) (f32x4.mul
            (local.get $weight) (v128.load (local.get $v_at)))))
          (local.set $b (f32x4.add (local.get $b) (f32x4.mul
            (local.get $weight) (v128.load offset=16 (local.get $v_at)))))
          (local.set $c (f32x4.add (local.get $c) (f32x4.mul
            (local.get $weight) (v128.load offset=32 (local.get $v_at)))))
          (local.set $d (f32x4.add (local.get $d) (f32x4.mul
            (local.get $weight) (v128.load offset=48 (local.get $v_at)))))
          (local.set $w_at (i32.add (local.get $w_at) (i32.const 4)))
          (local.set $v_at (i32.add (local.get $v_at) (local.get $stride)))
          (br_if $each_position (i32.lt_u (local.get $w_at) (local.get $w_end))))
        (v128.store (local.get $y) (local.get $a))
        (v128.store offset=16 (local.get $y) (local.get $b))
        (v128.store offset=32 (local.get $y) (local.get $c))
        (v128.store offset=48 (local.get $y) (local.get $d))
        (local.set $y (i32.add (local.get $y) (i32.const 64)))
        (local.set $column (i32.add (local.get $column) (i32.const 64)))
        (br_if $each_sixteen_columns (i32.lt_u (local.get $column) (local.get $stride))))
      (local.set $weights (local.get $w_end))
      (local.set $rows (i32.sub (local.get $rows) (i32.const 1)))
      (br_if $each_row (local.get $rows))))
)
