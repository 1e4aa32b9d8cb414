// chapter mask_softmax

fn main() {
    let sizes = whole(); // seq, total_seq
    let mut y = line();
    masked_softmax(&mut y, sizes[0], sizes[1]);
    show(&y);
}
