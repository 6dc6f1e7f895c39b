// Another client of the same cluster, over the crate `tikv-client`.
//
//     rust-client PD read KEY…            the keys in one transaction: a line `KEY VALUE` or `KEY` for each
//     rust-client PD put VALUE KEY…       puts them in one optimistic transaction (1PC and async commit are off), says `done`
//     rust-client PD async VALUE KEY…     the same with async commit
//     rust-client PD lock VALUE KEY…      locks them pessimistically, says `done`
//
// Who wrote or locked waits to be killed. Who failed ends with a status other than 0.
use std::time::Duration;
use tikv_client::{CheckLevel, Error, TransactionClient, TransactionOptions};

async fn read(client: &TransactionClient, keys: &[String]) -> Result<(), Error> {
    let options = TransactionOptions::new_optimistic()
        .read_only()
        .drop_check(CheckLevel::None);
    let mut txn = client.begin_with_options(options).await?;
    for key in keys {
        match txn.get(key.clone()).await? {
            Some(value) => println!("{} {}", key, String::from_utf8_lossy(&value)),
            None => println!("{}", key),
        }
    }
    Ok(())
}

async fn stay() {
    println!("done");
    loop {
        tokio::time::sleep(Duration::from_secs(3600)).await;
    }
}

async fn put(
    client: &TransactionClient,
    options: TransactionOptions,
    value: &str,
    keys: &[String],
) -> Result<(), Error> {
    let mut txn = client
        .begin_with_options(options.drop_check(CheckLevel::None))
        .await?;
    for key in keys {
        txn.put(key.clone(), value.to_owned()).await?;
    }
    txn.commit().await?;
    stay().await;
    Ok(())
}

async fn lock(client: &TransactionClient, keys: &[String]) -> Result<(), Error> {
    let options = TransactionOptions::new_pessimistic().drop_check(CheckLevel::None);
    let mut txn = client.begin_with_options(options).await?;
    txn.lock_keys(keys.to_vec()).await?;
    stay().await;
    Ok(())
}

async fn run(pd: &str, verb: &str, rest: &[String]) -> Result<(), Error> {
    let client = TransactionClient::new(pd.split(',').collect::<Vec<_>>()).await?;
    match verb {
        "read" => read(&client, rest).await,
        "put" => {
            put(
                &client,
                TransactionOptions::new_optimistic(),
                &rest[0],
                &rest[1..],
            )
            .await
        }
        "async" => {
            put(
                &client,
                TransactionOptions::new_optimistic().use_async_commit(),
                &rest[0],
                &rest[1..],
            )
            .await
        }
        _ => lock(&client, rest).await,
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.len() < 3 {
        eprintln!("usage: rust-client PD read|put|async|lock ARGUMENT…");
        std::process::exit(2);
    }
    match run(&args[0], &args[1], &args[2..]).await {
        Ok(()) => (),
        Err(e) => {
            eprintln!("{}", e);
            std::process::exit(1);
        }
    }
}
