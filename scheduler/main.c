/* postrider-scheduler: holds the queue (Raft and RocksDB, in shards) and decides what is sent when. */
#include "scheduler/shell/node.h"

int main(int argc, char **argv)
{
    return node_run(argc, argv);
}
