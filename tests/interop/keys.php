<?php
// How PHP names a queue, for Python to compare: octal literals, whether a key's queue exists, and ftok.
// Asked: key, path, project.

$asked = json_decode($argv[1], true);
echo json_encode([
    'leading_0' => 03000111,
    'leading_0o' => 0o3000111,
    'exists' => msg_queue_exists($asked['key']),
    'ftok' => ftok($asked['path'], $asked['project']),
]);
