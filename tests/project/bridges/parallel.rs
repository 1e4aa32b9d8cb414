// chapter parallel

/// Sizes, then a line of numbers for each rank: every rank's sum, with the ranks as threads.
fn main() {
    use std::os::unix::net::UnixStream;
    let size = whole()[0];
    let rows: Vec<Vec<f32>> = (0..size).map(|_| line()).collect();
    let (mut rights, mut lefts) = (Vec::new(), Vec::new());
    for _ in 0..size {
        let (out, into) = UnixStream::pair().unwrap();
        rights.push(out);
        lefts.push(into);
    }
    lefts.rotate_right(1); // what rank 0 sends arrives at rank 1
    let threads: Vec<_> = rows.into_iter().zip(lefts).zip(rights).enumerate()
        .map(|(rank, ((mut x, mut left), mut right))| {
            std::thread::spawn(move || {
                all_reduce(&mut x, rank, size, &mut left, &mut right).unwrap();
                x
            })
        })
        .collect();
    for thread in threads {
        show(&thread.join().unwrap());
    }
    test_sums();
    // A neighbour that is gone is an error, and nobody waits for ever.
    let (mut right, _kept) = UnixStream::pair().unwrap();
    let (mut left, gone) = UnixStream::pair().unwrap();
    drop(gone);
    let left_alone = all_reduce(&mut [1.0, 2.0], 0, 2, &mut left, &mut right);
    let (mut other, gone) = UnixStream::pair().unwrap();
    drop(gone);
    let swapped_alone = all_reduce_short(&mut [1.0, 2.0], std::slice::from_mut(&mut other));
    show(&[left_alone.is_err() as u8 as f32, swapped_alone.is_err() as u8 as f32]);
}
