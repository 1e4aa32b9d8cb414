// Stand-ins for the crates: "files" of one tensor, its format in the first byte, its place in the
// second.
mod memmap2 {
    use std::io::Read;
    pub struct Mmap(Vec<u8>);
    impl Mmap {
        pub unsafe fn map(mut file: &std::fs::File) -> std::io::Result<Mmap> {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(Mmap(bytes))
        }
    }
    impl std::ops::Deref for Mmap {
        type Target = [u8];
        fn deref(&self) -> &[u8] { &self.0 }
    }
}

mod safetensors {
    #[derive(Clone, Copy, Debug)]
    #[allow(non_camel_case_types)]
    pub enum Dtype { F32, F16, BF16 }

    #[derive(Debug)]
    pub struct SafeTensorError;
    impl std::fmt::Display for SafeTensorError {
        fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result { write!(f, "no such tensor") }
    }
    impl std::error::Error for SafeTensorError {}

    pub struct SafeTensors<'data>(&'data [u8]);
    pub struct TensorView<'data>(Dtype, &'data [u8]);

    impl<'data> SafeTensors<'data> {
        pub fn deserialize(file: &'data [u8]) -> Result<Self, SafeTensorError> { Ok(Self(file)) }
        pub fn tensor(&self, _: &str) -> Result<TensorView<'data>, SafeTensorError> {
            let dtype = [Dtype::F32, Dtype::F16, Dtype::BF16][self.0[0] as usize];
            Ok(TensorView(dtype, &self.0[self.0[1] as usize..]))
        }
    }
    impl<'data> TensorView<'data> {
        pub fn dtype(&self) -> Dtype { self.0 }
        pub fn data(&self) -> &'data [u8] { self.1 }
    }
}

fn read_it() -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    // chapter bytes
    assert!(matches!(data, Cow::Borrowed(_)) == (bytes[0] == 0 && bytes[1] % 4 == 0));
    Ok(data.into_owned())
}

fn main() { show(&read_it().unwrap()); }
