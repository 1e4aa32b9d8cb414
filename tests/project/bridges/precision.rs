// chapter precision

impl Number for f32 {
    fn wide(self) -> f32 { self }
    fn narrow(x: f32) -> Self { x }
}

fn main() {
    let (bits, x, w) = (whole(), line(), line());
    let narrow = |bits: &usize| Bf16::narrow(f32::from_bits(*bits as u32)).0;
    show(&bits.iter().map(narrow).collect::<Vec<_>>());
    let narrowed: Vec<Bf16> = w.iter().map(|&w| Bf16::narrow(w)).collect();
    show(&[dot(&x, &w), dot(&x, &narrowed)]);
}
