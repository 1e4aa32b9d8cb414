// chapter faster

fn widened(bits: u16) -> f32 {
    let (sign, exponent, digits) = (bits >> 15, (bits >> 10 & 31) as i32, (bits & 1023) as f32);
    let size = match exponent {
        0 => digits * 2f32.powi(-24),
        _ => (1.0 + digits / 1024.0) * 2f32.powi(exponent - 15),
    };
    if sign == 1 { -size } else { size }
}

fn main() {
    let bytes: Vec<u8> = whole().into_iter().map(|byte| byte as u8).collect();
    let x = line();
    let sums = block_sums(&x);
    let y: Vec<f32> =
        bytes.chunks(x.len() / 32 * 20).map(|row| dot_q4_1(row, &x, &sums, widened)).collect();
    show(&y);
}
