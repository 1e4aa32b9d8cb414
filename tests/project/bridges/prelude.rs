// Every program reads arrays from standard input and writes arrays, one a line.

/// The next line of standard input, as numbers.
fn line() -> Vec<f32> {
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).unwrap();
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// The next line of standard input, as sizes, ids or bits.
fn whole() -> Vec<usize> {
    let mut text = String::new();
    std::io::stdin().read_line(&mut text).unwrap();
    text.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

fn ids() -> Vec<u32> {
    whole().into_iter().map(|id| id as u32).collect()
}

fn show<T: std::fmt::Debug>(numbers: &[T]) {
    let words: Vec<String> = numbers.iter().map(|x| format!("{x:?}")).collect();
    println!("{}", words.join(" "));
}
