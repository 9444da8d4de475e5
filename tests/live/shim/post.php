<?php
// What planfix-in.php of the article does, with the address and the key from the environment: the benchmark runs it by System().
[, $phone, $ext, $callid] = $argv;
$curl = curl_init();
curl_setopt_array($curl, [
    CURLOPT_SSL_VERIFYPEER => 0,
    CURLOPT_POST => 1,
    CURLOPT_HEADER => 1,
    CURLOPT_RETURNTRANSFER => 1,
    CURLOPT_URL => getenv('PLANFIX_BENCH_URL'),
    CURLOPT_POSTFIELDS => http_build_query([
        'cmd' => 'event',
        'type' => 'in',
        'event' => 'INCOMING',
        'phone' => $phone,
        'diversion' => $ext,
        'ext' => $ext,
        'callid' => $callid,
        'planfix_token' => getenv('PLANFIX_BENCH_TOKEN'),
    ]),
]);
$answer = curl_exec($curl);
exit($answer !== false && curl_getinfo($curl, CURLINFO_RESPONSE_CODE) === 200 ? 0 : 1);
