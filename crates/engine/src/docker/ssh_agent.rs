//! The protocol of SSH agents (draft-miller-ssh-agent), as much of it as a build may use: it can list
//! keys and have things signed, and nothing else, as with the docker CLI.

use std::{io, path::Path};

use bollard_buildkit_proto::moby::sshforward::v1::BytesMessage;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tonic::{Status, Streaming};

/// Largest message, as in OpenSSH.
const LIMIT: usize = 256 << 10;
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
/// `SSH_AGENT_FAILURE` as a message.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// Passes a build's requests on to an agent, and gives its answers.
pub(super) async fn forward(
    socket: &Path,
    requests: Streaming<BytesMessage>,
) -> Result<BoxStream<'static, Result<BytesMessage, Status>>, Status> {
    let agent = UnixStream::connect(socket).await.map_err(|error| {
        Status::unavailable(format!("SSH agent at `{}`: {error}", socket.display()))
    })?;
    let state = (agent, requests, Vec::new());
    let answers = stream::try_unfold(state, |(mut agent, mut requests, mut buffer)| async move {
        loop {
            if let Some(message) = take_message(&mut buffer).map_err(status)? {
                let data = answer(&mut agent, &message).await.map_err(status)?;
                return Ok(Some((BytesMessage { data }, (agent, requests, buffer))));
            }
            match requests.next().await {
                Some(piece) => buffer.extend_from_slice(&piece?.data),
                None => return Ok(None),
            }
        }
    });
    Ok(answers.boxed())
}

fn status(error: io::Error) -> Status {
    Status::aborted(format!("SSH agent: {error}"))
}

/// Takes a whole message, with its length, from the start of a buffer.
fn take_message(buffer: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let whole = checked(*length)? + 4;
    if buffer.len() < whole {
        return Ok(None);
    }
    let rest = buffer.split_off(whole);
    Ok(Some(std::mem::replace(buffer, rest)))
}

fn checked(length: [u8; 4]) -> io::Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > LIMIT {
        let fault = format!("message of {length} bytes, expected 1 to {LIMIT}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
    }
    Ok(length)
}

async fn answer(agent: &mut UnixStream, message: &[u8]) -> io::Result<Vec<u8>> {
    if !matches!(message.get(4), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST))) {
        return Ok(FAILURE.to_vec());
    }
    agent.write_all(message).await?;
    let mut length = [0; 4];
    agent.read_exact(&mut length).await?;
    let mut answer = length.to_vec();
    answer.resize(4 + checked(length)?, 0);
    agent.read_exact(&mut answer[4..]).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_whole() {
        let mut buffer = Vec::new();
        let mut taken = Vec::new();
        for byte in [0, 0, 0, 1, 11, 0, 0, 0, 2, 13, 7, 0, 0] {
            buffer.push(byte);
            taken.extend(take_message(&mut buffer).unwrap());
        }
        assert_eq!(taken, [vec![0, 0, 0, 1, 11], vec![0, 0, 0, 2, 13, 7]]);
        assert_eq!(buffer, [0, 0]);
        for bad in [[0, 0, 0, 0], [255; 4]] {
            assert!(take_message(&mut bad.to_vec()).is_err());
        }
    }

    #[tokio::test]
    async fn only_harmless_requests_are_passed_on() {
        let (mut ours, mut agent) = UnixStream::pair().unwrap();
        let serving = tokio::spawn(async move {
            let mut request = [0; 5];
            agent.read_exact(&mut request).await.unwrap();
            agent.write_all(&[0, 0, 0, 2, 12, 9]).await.unwrap();
            request
        });
        // Remove all identities.
        assert_eq!(answer(&mut ours, &[0, 0, 0, 1, 19]).await.unwrap(), FAILURE);
        let list = [0, 0, 0, 1, REQUEST_IDENTITIES];
        assert_eq!(answer(&mut ours, &list).await.unwrap(), [0, 0, 0, 2, 12, 9]);
        assert_eq!(serving.await.unwrap(), list);
    }
}
