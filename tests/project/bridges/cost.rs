// chapter cost

fn main() {
    let sizes = whole(); // rows, threads
    let x = line();
    let w: Vec<u16> = whole().into_iter().map(|bits| bits as u16).collect();
    let mut y = vec![f32::NAN; sizes[0]];
    matvec(&x, &w, &mut y, sizes[1]);
    show(&y);
}
