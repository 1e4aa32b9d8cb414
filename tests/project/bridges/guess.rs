// chapter faster

/// How often each guess ends as which token, over a grid of random numbers.
fn main() {
    let (p, q, size) = (line(), line(), whole()[0]);
    let drawn_from = if q.is_empty() { None } else { Some(&q[..]) };
    let at = |i: usize| (i as f32 + 0.5) / size as f32;
    for guess in 0..p.len() {
        let mut shares = vec![0.0f32; p.len()];
        for (i, j) in (0..size * size).map(|n| (n / size, n % size)) {
            let mut numbers = [at(i), at(j)].into_iter();
            let token = keep_or_replace(&p, drawn_from, guess, || numbers.next().unwrap());
            shares[token] += 1.0 / (size * size) as f32;
        }
        show(&shares);
    }
}
