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

  ;; The float32 values of all float16 bit patterns begin here: half as a table is quicker than
  ;; half by arithmetic, and blocks have one or two each.
  (global $halves (export "halves") (mut i32) (i32.const 0))
  (func $half (param $at i32) (result v128)
    (v128.load32_splat (i32.add (global.get $halves)
      (i32.shl (i32.load16_u (local.get $at)) (i32.const 2)))))

  ;; linear, with weights in GGUF's blocks of 32, read where they lie. Q8_0: a float16 scale d,
  ;; then 32 bytes q; a weight is d * q. The products are written out in both kernels, for a call
  ;; every sixteen numbers took a fifth of the time.
  (func (export "linear_Q8_0")
    (param $x i32) (param $w i32) (param $y i32)
    (param $rows i32) (param $outputs i32) (param $width i32)
    (local $x_at i32) (local $x_end i32) (local $w_at i32) (local $o i32) (local $a v128)
    (local $q v128) (local $low v128) (local $high v128) (local $v v128)
    (local $s v128) (local $t v128)
    (loop $each_row
      (local.set $w_at (local.get $w))
      (local.set $o (local.get $outputs))
      (local.set $x_end (i32.add (local.get $x) (i32.shl (local.get $width) (i32.const 2))))
      (loop $each_output
        (local.set $a (v128.const i32x4 0 0 0 0))
        (local.set $x_at (local.get $x))
        (loop $each_block
          (local.set $s (v128.const i32x4 0 0 0 0))
          (local.set $t (v128.const i32x4 0 0 0 0))
          (local.set $q (v128.load offset=2 (local.get $w_at)))
          (local.set $low (i16x8.extend_low_i8x16_s (local.get $q)))
          (local.set $high (i16x8.extend_high_i8x16_s (local.get $q)))
          (local.set $v (v128.load offset=0 (local.get $x_at)))
          (local.set $s (f32x4.add (local.get $s) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s (local.get $low))))))
          (local.set $v (v128.load offset=16 (local.get $x_at)))
          (local.set $t (f32x4.add (local.get $t) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_high_i16x8_s (local.get $low))))))
          (local.set $v (v128.load offset=32 (local.get $x_at)))
          (local.set $s (f32x4.add (local.get $s) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s (local.get $high))))))
          (local.set $v (v128.load offset=48 (local.get $x_at)))
          (local.set $t (f32x4.add (local.get $t) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_high_i16x8_s (local.get $high))))))
          (local.set $q (v128.load offset=18 (local.get $w_at)))
          (local.set $low (i16x8.extend_low_i8x16_s (local.get $q)))
          (local.set $high (i16x8.extend_high_i8x16_s (local.get $q)))
          (local.set $v (v128.load offset=64 (local.get $x_at)))
          (local.set $s (f32x4.add (local.get $s) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s (local.get $low))))))
          (local.set $v (v128.load offset=80 (local.get $x_at)))
          (local.set $t (f32x4.add (local.get $t) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_high_i16x8_s (local.get $low))))))
          (local.set $v (v128.load offset=96 (local.get $x_at)))
          (local.set $s (f32x4.add (local.get $s) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s (local.get $high))))))
          (local.set $v (v128.load offset=112 (local.get $x_at)))
          (local.set $t (f32x4.add (local.get $t) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_high_i16x8_s (local.get $high))))))
          (local.set $a (f32x4.add (local.get $a) (f32x4.mul (call $half (local.get $w_at))
            (f32x4.add (local.get $s) (local.get $t)))))
          (local.set $x_at (i32.add (local.get $x_at) (i32.const 128)))
          (local.set $w_at (i32.add (local.get $w_at) (i32.const 34)))
          (br_if $each_block (i32.lt_u (local.get $x_at) (local.get $x_end))))
        (f32.store (local.get $y) (call $sum (local.get $a)))
        (local.set $y (i32.add (local.get $y) (i32.const 4)))
        (local.set $o (i32.sub (local.get $o) (i32.const 1)))
        (br_if $each_output (local.get $o)))
      (local.set $x (local.get $x_end))
      (local.set $rows (i32.sub (local.get $rows) (i32.const 1)))
      (br_if $each_row (local.get $rows))))

  ;; Q4_1: a float16 scale d and a float16 least value m, then 16 bytes, whose lower halves are the
  ;; first 16 numbers q and whose upper halves the last; a weight is d * q + m.
  (func (export "linear_Q4_1")
    (param $x i32) (param $w i32) (param $y i32)
    (param $rows i32) (param $outputs i32) (param $width i32)
    (local $x_at i32) (local $x_end i32) (local $w_at i32) (local $o i32) (local $a v128)
    (local $nibbles v128) (local $low v128) (local $high v128) (local $v v128)
    (local $s v128) (local $t v128) (local $m v128)
    (local $q v128)
    (loop $each_row
      (local.set $w_at (local.get $w))
      (local.set $o (local.get $outputs))
      (local.set $x_end (i32.add (local.get $x) (i32.shl (local.get $width) (i32.const 2))))
      (loop $each_output
        (local.set $a (v128.const i32x4 0 0 0 0))
        (local.set $x_at (local.get $x))
        (loop $each_block
          (local.set $s (v128.const i32x4 0 0 0 0))
          (local.set $t (v128.const i32x4 0 0 0 0))
          (local.set $m (v128.const i32x4 0 0 0 0))
          (local.set $q (v128.load offset=4 (local.get $w_at)))
          (local.set $nibbles (v128.and (local.get $q)
            (v128.const i32x4 0x0f0f0f0f 0x0f0f0f0f 0x0f0f0f0f 0x0f0f0f0f)))
          (local.set $low (i16x8.extend_low_i8x16_u (local.get $nibbles)))
          (local.set $high (i16x8.extend_high_i8x16_u (local.get $nibbles)))
          (local.set $v (v128.load offset=0 (local.get $x_at)))
          (local.set $m (f32x4.add (local.get $m) (local.get $v)))
          (local.set $s (f32x4.add (local.get $s) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s (local.get $low))))))
          (local.set $v (v128.load offset=16 (local.get $x_at)))
          (local.set $m (f32x4.add (local.get $m) (local.get $v)))
          (local.set $t (f32x4.add (local.get $t) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_high_i16x8_s (local.get $low))))))
          (local.set $v (v128.load offset=32 (local.get $x_at)))
          (local.set $m (f32x4.add (local.get $m) (local.get $v)))
          (local.set $s (f32x4.add (local.get $s) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s (local.get $high))))))
          (local.set $v (v128.load offset=48 (local.get $x_at)))
          (local.set $m (f32x4.add (local.get $m) (local.get $v)))
          (local.set $t (f32x4.add (local.get $t) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_high_i16x8_s (local.get $high))))))
          (local.set $nibbles (i8x16.shr_u (local.get $q) (i32.const 4)))
          (local.set $low (i16x8.extend_low_i8x16_u (local.get $nibbles)))
          (local.set $high (i16x8.extend_high_i8x16_u (local.get $nibbles)))
          (local.set $v (v128.load offset=64 (local.get $x_at)))
          (local.set $m (f32x4.add (local.get $m) (local.get $v)))
          (local.set $s (f32x4.add (local.get $s) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s (local.get $low))))))
          (local.set $v (v128.load offset=80 (local.get $x_at)))
          (local.set $m (f32x4.add (local.get $m) (local.get $v)))
          (local.set $t (f32x4.add (local.get $t) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_high_i16x8_s (local.get $low))))))
          (local.set $v (v128.load offset=96 (local.get $x_at)))
          (local.set $m (f32x4.add (local.get $m) (local.get $v)))
          (local.set $s (f32x4.add (local.get $s) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_low_i16x8_s (local.get $high))))))
          (local.set $v (v128.load offset=112 (local.get $x_at)))
          (local.set $m (f32x4.add (local.get $m) (local.get $v)))
          (local.set $t (f32x4.add (local.get $t) (f32x4.mul (local.get $v)
            (f32x4.convert_i32x4_s (i32x4.extend_high_i16x8_s (local.get $high))))))
          (local.set $a (f32x4.add (local.get $a) (f32x4.add
            (f32x4.mul (call $half (local.get $w_at)) (f32x4.add (local.get $s) (local.get $t)))
            (f32x4.mul (call $half (i32.add (local.get $w_at) (i32.const 2))) (local.get $m)))))
          (local.set $x_at (i32.add (local.get $x_at) (i32.const 128)))
          (local.set $w_at (i32.add (local.get $w_at) (i32.const 20)))
          (br_if $each_block (i32.lt_u (local.get $x_at) (local.get $x_end))))
        (f32.store (local.get $y) (call $sum (local.get $a)))
        (local.set $y (i32.add (local.get $y) (i32.const 4)))
        (local.set $o (i32.sub (local.get $o) (i32.const 1)))
        (br_if $each_output (local.get $o)))
      (local.set $x (local.get $x_end))
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
