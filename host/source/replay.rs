//! A file of frames as a source: for examples, tests and trying things out. Reads each frame after its
//! length as 4 bytes, big-endian, and ends with the file. Key type: [`Replay`].

use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::frame::{Chunk, Frame, Origin};
use crate::pipeline::Outputs;

/// Most frames that are handed on at once.
const MAX_FRAMES: usize = 256;
/// The largest frame.
const MAX_FRAME: u32 = 64 << 20;

/// A source of kind `replay`.
pub struct Replay {
    path: PathBuf,
    origin: Arc<Origin>,
    outputs: Outputs,
}

impl Replay {
    /// A source that hands the frames of a file to these pipelines.
    pub fn new(name: &str, path: PathBuf, stream: &str, outputs: Outputs) -> Self {
        let origin = Origin { source: name.into(), stream: stream.into() };
        Replay { path, origin: Arc::new(origin), outputs }
    }

    /// Reads the file to its end, or until told to stop.
    ///
    /// # Errors
    /// When it cannot be read, or ends in the middle of a frame. What came before is handed on.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let mut input = BufReader::with_capacity(1 << 20, File::open(&self.path)?);
        loop {
            let (frames, ended) = tokio::task::block_in_place(|| read_frames(&mut input));
            if !frames.is_empty() && stop.run_until_cancelled(self.hand_on(frames)).await.is_none()
            {
                return Ok(());
            }
            if let Some(ended) = ended {
                return ended;
            }
        }
    }

    async fn hand_on(&self, frames: Vec<Frame>) {
        let chunk = Chunk::new(Arc::clone(&self.origin), frames);
        for output in self.outputs.now().iter() {
            if output.send(chunk.clone()).await.is_err() {
                output.abandon(&chunk.origin, chunk.frames.len() as u64);
            }
        }
    }
}

/// Some frames, and, when they are the last, how the file ended.
fn read_frames(input: &mut BufReader<File>) -> (Vec<Frame>, Option<io::Result<()>>) {
    let mut frames = Vec::new();
    while frames.len() < MAX_FRAMES {
        match read_frame(input) {
            Ok(Some(bytes)) => frames.push(Frame::binary(bytes)),
            Ok(None) => return (frames, Some(Ok(()))),
            Err(error) => return (frames, Some(Err(error))),
        }
    }
    (frames, None)
}

/// The next frame; `None` at the end of the file.
fn read_frame(input: &mut BufReader<File>) -> io::Result<Option<Vec<u8>>> {
    let mut length = Vec::with_capacity(4);
    input.by_ref().take(4).read_to_end(&mut length)?;
    if length.is_empty() {
        return Ok(None);
    }
    let torn = || io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends within a frame");
    let length = u32::from_be_bytes(length.try_into().map_err(|_| torn())?);
    if length > MAX_FRAME {
        return Err(io::Error::other(format!(
            "a frame of {length} bytes; {MAX_FRAME} is the most"
        )));
    }
    let mut bytes = Vec::new();
    input.by_ref().take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize { Err(torn()) } else { Ok(Some(bytes)) }
}
