// chapter linear

fn main() {
    let (sizes, factors) = (whole(), line());
    let (a, b, mut c) = (line(), line(), line());
    matmul_transb(&mut c, factors[1], &a, &b, factors[0], sizes[0], sizes[1], sizes[2]);
    show(&c);
}
