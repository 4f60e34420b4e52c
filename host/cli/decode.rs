//! `trommel decode`: frames in, lines out, without a connection.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::Exit;
use crate::batch::Batch;
use crate::columns::Fields;
use crate::decode::{Decoder, Registry};
use crate::frame::Frame;
use crate::text::push_json_string;

/// Largest frame that is read.
const MAX_FRAME: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(super) struct DecodeArgs {
    /// The stream the frames are from, for example ap-events; without it all streams count
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Many frames, each after its length as 4 bytes, big-endian; without it the input is one frame
    #[arg(long)]
    framed: bool,
    /// The file; - or nothing for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
}

pub(super) fn run(args: &DecodeArgs) -> Result<(), Exit> {
    let mut input: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&args.file);
        let cannot =
            |error| Exit::environment(format!("cannot read {}: {error}", args.file.display()));
        Box::new(BufReader::with_capacity(64 << 10, file.map_err(cannot)?))
    };
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let lines = Lines {
        decoder: Decoder::new(Arc::new(Registry::built_in())),
        stream: args.stream.clone().unwrap_or_default(),
    };
    let all_well = lines.write_all(&mut input, &mut out, args.framed);
    match all_well.and_then(|well| out.flush().map(|()| well)) {
        Ok(true) => Ok(()),
        // What is wrong was printed in its place.
        Ok(false) => Err(Exit { code: 1, message: String::new() }),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Exit::run_time(error)),
    }
}

struct Lines {
    decoder: Decoder,
    stream: String,
}

impl Lines {
    /// Writes a line per frame. False when one of them was an error.
    fn write_all(
        &self,
        input: &mut dyn Read,
        out: &mut dyn Write,
        is_framed: bool,
    ) -> io::Result<bool> {
        let mut all_well = true;
        let mut write = |line: Result<String, String>| {
            all_well &= line.is_ok();
            let line = line.unwrap_or_else(|error| {
                let mut line = "{\"error\":".to_owned();
                push_json_string(&mut line, &error);
                line + "}"
            });
            writeln!(out, "{line}")
        };
        if !is_framed {
            let mut bytes = Vec::new();
            input.take(MAX_FRAME + 1).read_to_end(&mut bytes)?;
            write(self.line(bytes))?;
            return Ok(all_well);
        }
        loop {
            match read_framed(input)? {
                Next::Frame(bytes) => write(self.line(bytes))?,
                Next::Broken(what) => {
                    write(Err(what))?;
                    break;
                }
                Next::End => break,
            }
        }
        Ok(all_well)
    }

    fn line(&self, bytes: Vec<u8>) -> Result<String, String> {
        if bytes.len() as u64 > MAX_FRAME {
            return Err(format!("a frame of more than {MAX_FRAME} bytes"));
        }
        let mut batch = Batch::default();
        self.decoder
            .decode(&self.stream, Frame::binary(bytes), &mut batch)
            .map_err(|error| error.to_string())?;
        let rows = batch.live().to_vec();
        if let Some((_, error)) = batch.prepare(&rows, Fields::WHOLE, &self.decoder).pop() {
            return Err(error);
        }
        Ok(batch.lines_of(&rows).into_text().text.trim_end().to_owned())
    }
}

enum Next {
    Frame(Vec<u8>),
    Broken(String),
    End,
}

fn read_framed(input: &mut dyn Read) -> io::Result<Next> {
    let mut length = Vec::new();
    input.take(4).read_to_end(&mut length)?;
    let length = match <[u8; 4]>::try_from(length.as_slice()) {
        Ok(length) => u64::from(u32::from_be_bytes(length)),
        Err(_) if length.is_empty() => return Ok(Next::End),
        Err(_) => return Ok(Next::Broken("the input ends within a frame's length".to_owned())),
    };
    if length > MAX_FRAME {
        return Ok(Next::Broken(format!("a frame of {length} bytes; {MAX_FRAME} is the most")));
    }
    let mut bytes = Vec::new();
    input.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length {
        let found = bytes.len();
        return Ok(Next::Broken(format!(
            "the input ends after {found} of a frame's {length} bytes"
        )));
    }
    Ok(Next::Frame(bytes))
}
