// chapter faster

/// How often two guesses end as which tokens, over a grid of random numbers.
fn main() {
    let (p, size): (Vec<Vec<f32>>, usize) = ((0..3).map(|_| line()).collect(), whole()[0]);
    let (q, guesses) = (line(), ids());
    let q = [if q.is_empty() { None } else { Some(q) }, None];
    let at = |i: usize| (i as f32 + 0.5) / size as f32;
    let mut ends = std::collections::BTreeMap::new();
    for n in 0..size.pow(3) {
        let mut numbers = [n / size / size, n / size % size, n % size].into_iter().map(at);
        let new = drawn(&p, &q, &guesses, || numbers.next().unwrap());
        *ends.entry(new).or_insert(0.0f32) += 1.0;
    }
    for (new, count) in &ends {
        let mut found: Vec<f32> = vec![count / size.pow(3) as f32];
        found.extend(new.iter().map(|id| *id as f32));
        show(&found);
    }
}
