// chapter sampling

fn main() {
    let logits = line();
    let (settings, draws) = (line(), whole()); // temperature, top_k, top_p; how many draws
    let mut counts = vec![0; logits.len()];
    for i in 0..draws[0] {
        let u = (i as f32 + 0.5) / draws[0] as f32;
        counts[sample(&logits, settings[0], settings[1] as usize, settings[2], u) as usize] += 1;
    }
    show(&counts);
}
